"""Promise: Ruby runs as its author expects, each time in a fresh interpreter, warm or not, and in sessions."""
import json

import pytest
from program import run
from server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("ruby"), http=True)
    yield server
    server.stop()


@pytest.fixture(scope="module", params=["alone", "served"])
def ruby(request, server):
    if request.param == "alone":
        return lambda code, *options, **more: run("ruby", "--local", *options, "-c", code, **more)
    return lambda code, *options, **more: server.run("ruby", *options, "-c", code, **more)


@pytest.mark.parametrize("code, out", [
    ("puts 2 + 2", "4"), ("p [1, :a, nil, 'x', 1.5, {k: 1}]", '[1, :a, nil, "x", 1.5, {k: 1}]'),
    ("puts 'grüße'.upcase, 2**100", "GRÜSSE\n1267650600228229401496703205376"),
    ("def fib(n) = n < 2 ? n : fib(n - 1) + fib(n - 2)\nputs fib(15)", "610"),
    ("at_exit { puts 'last' }\nat_exit { puts 'first' }\nputs 'body'", "body\nfirst\nlast"),
    ("Point = Struct.new(:x, :y)\nputs Point.new(1, 2).then { |q| q.x + q.y }", "3"),
    ("case {name: 'ada', tags: [1, 2]}\nin {name: String => n, tags: [*, 2]}\n  puts n\nend", "ada"),
    ("e = Enumerator.new { |y| 3.times { |i| y << i } }\np e.next, e.next, e.lazy.map { _1 * 2 }.to_a", "0\n1\n[0, 2, 4]"),
    ("begin\n  raise ArgumentError, 'no'\nrescue => error\n  puts error.full_message(highlight: false).lines.first\nensure\n  puts 'done'\nend",
     "<code>:2:in '<main>': no (ArgumentError)\ndone"),
    ("r = catch(:done) { 10.times { |i| throw :done, i if i == 3 } }\np r", "3"),
    ("f = Fiber.new { Fiber.yield 1; 2 }\np f.resume, f.resume", "1\n2"),
    ("require 'json'; require 'set'; require 'date'; require 'time'; require 'erb'\n"
     "puts JSON.generate(d: Date.new(2026, 1, 31) >> 1, s: Set[1, 2].to_a), ERB.new('<%= 1 + 1 %>').result", '{"d":"2026-02-28","s":[1,2]}\n2'),
    ("require 'digest'; require 'stringio'; require 'securerandom'\nputs Digest::SHA256.hexdigest('')[0, 8], SecureRandom.hex(4).size", "e3b0c442\n8")])
def test_programs(ruby, code, out):
    done = ruby(code)
    assert (done.returncode, done.out, done.err) == (0, out + "\n", "")


def test_a_longer_program(ruby):
    """A tokenizer, a parser and an evaluator of arithmetic."""
    done = ruby("""
class Calculator
  TOKEN = /\\s*(?:(\\d+(?:\\.\\d+)?)|(.))/
  def initialize(text) = @tokens = text.scan(TOKEN).map { |number, sign| number ? Float(number) : sign }
  def value = expression.tap { raise "left over: #{@tokens}" unless @tokens.empty? }
  private
  def expression = fold(%w[+ -]) { term }
  def term = fold(%w[* /]) { factor }
  def fold(signs)
    left = yield
    left = left.public_send(@tokens.shift, yield) while signs.include?(@tokens.first)
    left
  end
  def factor
    case token = @tokens.shift
    when Float then token
    when "(" then expression.tap { @tokens.shift == ")" or raise "no )" }
    when "-" then -factor
    else raise "unexpected #{token.inspect}"
    end
  end
end
%w[1+2*3 (1+2)*3 -4/2+10 2*(3+(4-1))/3].each { |text| puts "#{text} = #{Calculator.new(text).value}" }
begin
  Calculator.new("1+").value
rescue RuntimeError => error
  puts error.message
end""")
    assert done.out == "1+2*3 = 7.0\n(1+2)*3 = 9.0\n-4/2+10 = 8.0\n2*(3+(4-1))/3 = 4.0\nunexpected nil\n", done.err


def test_input_arguments_environment(ruby):
    done = ruby("puts $stdin.gets, $stdin.read, ENV['K'], $0", "--env", "K=v ü", stdin="first é\nrest")
    assert done.out == "first é\nrest\nv ü\n<code>\n"
    assert run("ruby", "--local", "-", "--", "a", "b c", stdin="p ARGV").out == '["a", "b c"]\n'


@pytest.mark.parametrize("code, status, err", [
    ("def f = raise('bad')\nf", 1, "<code>:1:in 'Object#f': bad (RuntimeError)\n\tfrom <code>:2:in '<main>'\n"),
    ("x = ", 1, "SyntaxError"), ("exit 7", 7, ""), ("abort 'told'", 1, "told"), ("nothing", 1, "NameError"),
    ("`ls`", 1, "Error"), ("Thread.new {}", 1, "NotImplementedError"), ("require 'socket'", 1, "LoadError"), ("fork", 1, "NotImplementedError"),
    ("File.read('/etc/passwd')", 1, "Errno::")])
def test_ends(ruby, code, status, err):
    done = ruby(code)
    assert done.returncode == status and err in done.err and "eval:" not in done.err, done.err


def test_limits(ruby):
    assert ruby("loop {}", "--timeout", "500ms").returncode == 124
    assert ruby("a = []\nloop { a << 'x' * 1_000_000 }", timeout=120).returncode == 137
    assert ruby("loop { puts 'x' * 1000 }", "--output-limit", "10k").returncode > 128


def test_no_two_runs_share_anything(ruby):
    first, second = (ruby("$seen = ($seen || 0) + 1\np $seen, rand, Random.new_seed").out.split() for _ in range(2))
    assert first[0] == second[0] == "1" and first[1] != second[1] and first[2] != second[2]


def test_as_a_tool_and_in_sessions(server):
    def call(name, **parameters):
        return json.loads(server.run("tool", "--server", server.base, name, json.dumps(parameters)).out)

    answer = call("ruby_wasi_runner", code="puts 'out'\n{a: 1}")
    assert (answer["stdout"], answer["result"]) == ("out\n", "{a: 1}")
    session = call("session_open", language="ruby")["session_id"]
    turn = lambda code, **more: call("ruby_wasi_runner", code=code, session_id=session, **more)  # noqa: E731
    turn("x = 5\ndef plus(a) = a + 1")
    assert turn("x = plus(x)")["result"] == "6" and turn("x")["result"] == "6"
    failed = turn("x = 9; raise 'no'")
    assert failed["exit_code"] == 1 and failed["session_state"] == "kept" and "<code 4>:1:in" in failed["stderr"]
    assert turn("loop {}", execution_timeout_ms=300)["session_state"] == "unchanged" and turn("x")["result"] == "9"
    branch = call("session_fork", session_id=session)["sessions"][0]["session_id"]
    assert call("ruby_wasi_runner", code="x += 1; File.write('f', 'b'); x", session_id=branch)["result"] == "10"
    assert turn("[x, Dir.children('/workspace')]")["result"] == "[9, []]"
