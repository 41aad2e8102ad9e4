/* Types: what each expression can be, from the program as a whole. A variable has one type for all
 * of its life, or any; so has a function's result. Nothing is believed that could turn out
 * otherwise. */
#include "compile/library.h"

#include <string.h>

enum { MAX_ROUNDS = 40, MAX_VISITS = 1000000 };

struct inference {
    struct unit *unit;
    struct function *function;
    bool changed;
    size_t visits; /* of expressions, in all rounds */
};

static enum kind type(struct inference *in, struct node *node);
static void body(struct inference *in, struct node *node);

static enum kind join(enum kind a, enum kind b) {
    return a == K_NOTHING ? b : b == K_NOTHING || a == b ? a : K_ANY;
}

/* Integers, floats and bools are held as such only where they always have a value. */
static void add(struct inference *in, struct variable *v, enum kind kind) {
    if (v == NULL) return;
    bool raw = kind == K_INT || kind == K_FLOAT || kind == K_BOOL;
    enum kind joined = join((enum kind)v->type, v->may_be_unset && raw ? K_ANY : kind);
    if (joined == v->type) return;
    v->type = (uint8_t)joined;
    in->changed = true;
}

static void add_target(struct inference *in, struct node *target, enum kind kind) {
    switch (target->kind) {
    case N_NAME: add(in, target->variable, kind); break;
    case N_STAR: add_target(in, target->a, K_LIST); break;
    case N_LIST:
    case N_TUPLE:
        for (struct node *item = target->a; item != NULL; item = item->next)
            add_target(in, item, K_ANY);
        break;
    default: (void)type(in, target); break;
    }
}

/* `a, b = x, y`: each by itself. */
static void add_value(struct inference *in, struct node *target, struct node *value) {
    bool pair = (target->kind == N_TUPLE || target->kind == N_LIST) && value->kind == N_TUPLE;
    struct node *t = target->a, *v = value->a;
    for (; pair && t != NULL && v != NULL; t = t->next, v = v->next) {
        if (t->kind == N_STAR || v->kind == N_STAR) pair = false;
    }
    if (!pair || t != NULL || v != NULL) {
        add_target(in, target, (enum kind)value->type);
        return;
    }
    for (t = target->a, v = value->a; t != NULL; t = t->next, v = v->next)
        add_value(in, t, v);
}

static bool is_int(enum kind kind) {
    return kind == K_INT || kind == K_BOOL;
}

static bool is_number(enum kind kind) {
    return is_int(kind) || kind == K_FLOAT;
}

enum kind infer_binary(uint8_t op, enum kind a, enum kind b, const struct node *exponent) {
    if (a == K_NOTHING || b == K_NOTHING) return K_NOTHING;
    if (is_int(a) && is_int(b)) {
        if (op == O_TRUEDIV) return K_FLOAT;
        if (op == O_POW)
            return exponent->kind == N_INT && exponent->text == NULL && exponent->integer >= 0
                       ? K_INT
                       : K_ANY;
        if (op >= O_AND && a == K_BOOL && b == K_BOOL) return K_BOOL;
        return K_INT;
    }
    if (is_number(a) && is_number(b) && op <= O_POW) return K_FLOAT;
    bool one = a == K_FLOAT || b == K_FLOAT; /* with anything that it goes with, it makes a float */
    if (one && (op == O_ADD || op == O_SUB || op == O_MUL || op == O_TRUEDIV || op == O_FLOORDIV))
        return K_FLOAT;
    if (a == K_STR && op == O_MOD) return K_STR;
    if (op == O_ADD && a == b && (a == K_STR || a == K_LIST || a == K_TUPLE)) return a;
    if (op == O_MUL && (a == K_STR || a == K_LIST || a == K_TUPLE) && is_int(b)) return a;
    if (op == O_MUL && (b == K_STR || b == K_LIST || b == K_TUPLE) && is_int(a)) return b;
    return K_ANY;
}

static void types(struct inference *in, struct node *node) {
    for (; node != NULL; node = node->next)
        (void)type(in, node);
}

static bool is_named(const struct node *node, const char *name) {
    return node->kind == N_NAME && node->variable == NULL && text_is(node->text, node->size, name);
}

static bool is_range(const struct node *node) {
    return node->kind == N_CALL && is_named(node->a, "range");
}

static void clause_targets(struct inference *in, struct node *clause) {
    for (; clause != NULL; clause = clause->next) {
        (void)type(in, clause->b);
        add_target(in, clause->a,
                   is_range(clause->b)        ? K_INT
                   : clause->b->type == K_STR ? K_STR
                                              : K_ANY);
        types(in, clause->c);
    }
}

static enum kind call_function(struct inference *in, struct function *f, struct node *arguments) {
    struct parameter *p = f->parameters;
    for (struct node *argument = arguments; argument != NULL; argument = argument->next) {
        if (argument->kind == N_KEYWORD) {
            for (struct parameter *q = f->parameters; q != NULL; q = q->next) {
                if (q->variable->name_size == argument->size &&
                    memcmp(q->variable->name, argument->text, argument->size) == 0)
                    add(in, q->variable, (enum kind)argument->a->type);
            }
        } else if (p != NULL) {
            add(in, p->variable, (enum kind)argument->type);
            p = p->next;
        }
    }
    for (p = f->parameters; p != NULL; p = p->next) {
        if (p->standard != NULL) add(in, p->variable, (enum kind)p->standard->type);
    }
    return (enum kind)f->result;
}

static enum kind first_type(const struct node *arguments) {
    return arguments != NULL ? (enum kind)arguments->type : K_NOTHING;
}

/* min() and max() of several values: of one type if they all are. */
static enum kind best(const struct node *arguments) {
    enum kind kind = K_NOTHING;
    uint32_t count = 0;
    for (const struct node *argument = arguments; argument != NULL; argument = argument->next) {
        if (argument->kind == N_KEYWORD) return K_ANY;
        kind = join(kind, (enum kind)argument->type);
        count++;
    }
    return count > 1 ? kind : K_ANY;
}

static enum kind call_builtin(const struct node *node) {
    const struct node *name = node->a;
    enum kind first = first_type(node->b);
    bool two = node->b != NULL && node->b->next != NULL;
    if (is_named(name, "abs"))
        return first == K_BOOL                                            ? K_INT
               : first == K_INT || first == K_FLOAT || first == K_NOTHING ? first
                                                                          : K_ANY;
    if (is_named(name, "round")) {
        if (first == K_NOTHING || is_int(first)) return first == K_NOTHING ? first : K_INT;
        return first == K_FLOAT ? (!two                           ? K_INT
                                   : node->b->next->type == K_INT ? K_FLOAT
                                                                  : K_ANY)
                                : K_ANY;
    }
    if (is_named(name, "min") || is_named(name, "max")) return best(node->b);
    if (is_named(name, "sorted")) return K_LIST;
    if (is_named(name, "str")) return K_STR;
    if (is_named(name, "bool") || is_named(name, "isinstance")) return K_BOOL;
    if (is_named(name, "print")) return K_NONE;
    if (is_named(name, "pow")) {
        if (two && node->b->next->next != NULL) return K_INT;
        return two ? infer_binary(O_POW, first, (enum kind)node->b->next->type, node->b->next)
                   : K_ANY;
    }
    const struct entry *entry = library_function(name->text, name->size);
    return entry != NULL ? (enum kind)entry->type : K_ANY;
}

static enum kind call(struct inference *in, struct node *node) {
    struct node *callee = node->a;
    types(in, node->b);
    if (callee->kind == N_ATTRIBUTE) {
        const struct node *object = callee->a;
        if (object->kind == N_NAME && object->variable != NULL &&
            object->variable->module != NULL && object->variable->member == NULL) {
            const struct entry *entry = library_math(callee->text, callee->size);
            return entry != NULL ? (enum kind)entry->type : K_NONE;
        }
        (void)type(in, callee->a);
        if (text_is(callee->text, callee->size, "sort")) return K_NONE;
        if (text_is(callee->text, callee->size, "format")) return K_STR;
        const struct entry *entry = library_method(callee->text, callee->size);
        return entry != NULL ? (enum kind)entry->type : K_ANY;
    }
    if (callee->kind == N_NAME && callee->variable == NULL) return call_builtin(node);
    if (callee->kind == N_NAME && callee->variable->constant != NULL)
        return call_function(in, callee->variable->constant, node->b);
    if (callee->kind == N_NAME && callee->variable->member != NULL) {
        const struct entry *entry =
            library_math(callee->variable->member, callee->variable->member_size);
        return entry != NULL ? (enum kind)entry->type : K_NONE;
    }
    (void)type(in, callee);
    return K_ANY;
}

static enum kind expression(struct inference *in, struct node *node) {
    switch (node->kind) {
    case N_INT: return K_INT;
    case N_FLOAT: return K_FLOAT;
    case N_STRING: return K_STR;
    case N_JOINED:
        for (struct node *part = node->a; part != NULL; part = part->next) {
            types(in, part->a);
            if (part->kind == N_FIELD && part->b != NULL) (void)type(in, part->b);
        }
        return K_STR;
    case N_NONE: return K_NONE;
    case N_TRUE:
    case N_FALSE: return K_BOOL;
    case N_NAME:
        if (node->variable == NULL || node->variable->constant != NULL) return K_ANY;
        if (node->variable->member != NULL) return K_FLOAT;
        return (enum kind)node->variable->type;
    case N_BINARY: {
        enum kind a = type(in, node->a), b = type(in, node->b);
        return infer_binary(node->op, a, b, node->b);
    }
    case N_UNARY: {
        enum kind kind = type(in, node->a);
        return is_int(kind) ? K_INT : kind == K_FLOAT || kind == K_NOTHING ? kind : K_ANY;
    }
    case N_NOT: (void)type(in, node->a); return K_BOOL;
    case N_AND:
    case N_OR: {
        enum kind a = type(in, node->a);
        return join(a, type(in, node->b));
    }
    case N_COMPARE:
        (void)type(in, node->a);
        for (struct node *compared = node->b; compared != NULL; compared = compared->next)
            (void)type(in, compared->a);
        return K_BOOL;
    case N_IF_ELSE: {
        (void)type(in, node->a);
        enum kind b = type(in, node->b);
        return join(b, type(in, node->c));
    }
    case N_CALL: return call(in, node);
    case N_KEYWORD:
    case N_STAR: return type(in, node->a);
    case N_ATTRIBUTE: {
        const struct node *object = node->a;
        if (object->kind == N_NAME && object->variable != NULL && object->variable->module != NULL)
            return text_is(object->variable->module, 4, "math") ? K_FLOAT : K_LIST;
        types(in, node->a);
        return K_STR; /* type(x).__name__ */
    }
    case N_ITEM: {
        enum kind a = type(in, node->a);
        (void)type(in, node->b);
        if (a == K_STR) return K_STR;
        return node->b->kind == N_SLICE && (a == K_LIST || a == K_TUPLE) ? a : K_ANY;
    }
    case N_SLICE:
        if (node->a != NULL) (void)type(in, node->a);
        if (node->b != NULL) (void)type(in, node->b);
        if (node->c != NULL) (void)type(in, node->c);
        return K_ANY;
    case N_LIST: types(in, node->a); return K_LIST;
    case N_TUPLE: types(in, node->a); return K_TUPLE;
    case N_DICT: types(in, node->a); return K_DICT;
    case N_PAIR:
        (void)type(in, node->a);
        (void)type(in, node->b);
        return K_ANY;
    case N_LIST_OF:
    case N_GENERATOR:
        clause_targets(in, node->b);
        (void)type(in, node->a);
        return K_LIST; /* a generator is only made where it is used up at once */
    case N_DICT_OF:
        clause_targets(in, node->b);
        (void)type(in, node->a);
        return K_DICT;
    case N_LAMBDA:
        if (node->is_inline) {
            for (struct node *name = node->b; name != NULL; name = name->next)
                add(in, name->variable, K_ANY);
            (void)type(in, node->a);
        }
        return K_ANY;
    default: return K_ANY;
    }
}

static enum kind type(struct inference *in, struct node *node) {
    enum kind kind = expression(in, node);
    in->visits++;
    if (kind != (enum kind)node->type) {
        node->type = (uint8_t)kind;
        in->changed = true;
    }
    return kind;
}

static void add_result(struct inference *in, enum kind kind) {
    enum kind joined = join((enum kind)in->function->result, kind);
    if (joined == (enum kind)in->function->result) return;
    in->function->result = (uint8_t)joined;
    in->changed = true;
}

static void statement(struct inference *in, struct node *node) {
    switch (node->kind) {
    case S_EXPRESSION: (void)type(in, node->a); break;
    case S_ASSIGN:
        (void)type(in, node->b);
        for (struct node *target = node->a; target != NULL; target = target->next)
            add_value(in, target, node->b);
        break;
    case S_CHANGE: {
        enum kind a = type(in, node->a), b = type(in, node->b);
        enum kind kind = infer_binary(node->op, a, b, node->b);
        if (node->op == O_ADD && a == K_LIST) kind = K_LIST;
        if (node->a->kind == N_NAME) add(in, node->a->variable, kind);
        break;
    }
    case S_IF:
    case S_WHILE:
        (void)type(in, node->a);
        body(in, node->b);
        body(in, node->c);
        break;
    case S_FOR:
        (void)type(in, node->b);
        add_target(in, node->a, is_range(node->b) ? K_INT : node->b->type == K_STR ? K_STR : K_ANY);
        body(in, node->c);
        body(in, node->d);
        break;
    case S_DEF:
        for (struct parameter *p = node->function->parameters; p != NULL; p = p->next) {
            if (p->value != NULL) add(in, p->standard, type(in, p->value));
        }
        break;
    case S_RETURN: add_result(in, node->a != NULL ? type(in, node->a) : K_NONE); break;
    case S_TRY:
        body(in, node->a);
        for (struct node *handler = node->b; handler != NULL; handler = handler->next) {
            add(in, handler->variable, K_ANY);
            body(in, handler->b);
        }
        body(in, node->c);
        body(in, node->d);
        break;
    case S_ASSERT:
    case S_RAISE:
    case S_DELETE:
        types(in, node->a);
        types(in, node->b);
        break;
    default: break;
    }
}

static void body(struct inference *in, struct node *node) {
    for (; node != NULL; node = node->next)
        statement(in, node);
}

/* Whether the end of a body can be reached. */
static bool falls_through(const struct node *node) {
    for (; node != NULL; node = node->next) {
        if (node->kind == S_RETURN || node->kind == S_RAISE) return false;
        if (node->kind == S_IF && node->c != NULL && !falls_through(node->b) &&
            !falls_through(node->c))
            return false;
    }
    return true;
}

/* A loop's variable that nothing else sets stays within what a range has. */
static void find_counted(struct node *node) {
    for (; node != NULL; node = node->next) {
        if ((node->kind == S_FOR || node->kind == N_FOR_IN) && node->a->kind == N_NAME &&
            is_range(node->b)) {
            node->a->variable->is_counted = !node->a->variable->is_parameter;
        }
        if (node->kind == S_DEF) find_counted(node->function->body);
        find_counted(node->a);
        find_counted(node->b);
        find_counted(node->c);
        find_counted(node->d);
    }
}

static void uncount(struct node *target) {
    if (target->kind == N_NAME && target->variable != NULL) target->variable->is_counted = false;
    if (target->kind == N_STAR) uncount(target->a);
    if (target->kind == N_TUPLE || target->kind == N_LIST) {
        for (struct node *item = target->a; item != NULL; item = item->next)
            uncount(item);
    }
}

static void drop_counted(struct node *node) {
    for (; node != NULL; node = node->next) {
        if (node->kind == S_ASSIGN) {
            for (struct node *target = node->a; target != NULL; target = target->next)
                uncount(target);
        }
        if (node->kind == S_CHANGE) uncount(node->a);
        if ((node->kind == S_FOR || node->kind == N_FOR_IN) &&
            !(node->a->kind == N_NAME && is_range(node->b)))
            uncount(node->a);
        if (node->kind == S_DEF) drop_counted(node->function->body);
        drop_counted(node->a);
        drop_counted(node->b);
        drop_counted(node->c);
        drop_counted(node->d);
    }
}

/* What types depend on one another in so long a row that it takes as many rounds is not worth it:
 * anything, then. */
static void give_up(struct inference *in) {
    for (struct function *f = in->unit->functions; f != NULL; f = f->next) {
        in->function = f;
        if (f != in->unit->functions) add_result(in, K_ANY);
        for (struct variable *v = f->variables; v != NULL; v = v->next) {
            if (v->constant == NULL && v->module == NULL) add(in, v, K_ANY);
        }
    }
}

void infer_types(struct unit *u) {
    struct inference in = {.unit = u, .changed = true};
    for (int round = 0; in.changed; round++) {
        in.changed = false;
        if (round == MAX_ROUNDS || in.visits > MAX_VISITS + 4 * u->size) give_up(&in);
        for (struct function *f = u->functions; f != NULL; f = f->next) {
            if (!f->is_reached) continue;
            in.function = f;
            if (f->is_value) {
                for (struct parameter *p = f->parameters; p != NULL; p = p->next)
                    add(&in, p->variable, K_ANY);
                add_result(&in, K_ANY);
            }
            body(&in, f->body);
            if (f->definition != NULL && f->definition->kind == N_LAMBDA) {
                add_result(&in, type(&in, f->definition->a));
            } else if (falls_through(f->body)) {
                add_result(&in, K_NONE);
            }
        }
    }
    find_counted(u->body);
    drop_counted(u->body);
}
