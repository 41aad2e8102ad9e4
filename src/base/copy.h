/* A file's bytes into another, wherever both lie. */
#ifndef PA_BASE_COPY_H
#define PA_BASE_COPY_H

/* From where `from` stands to its end. 0 or a negative errno. */
int fd_copy_all(int from, int to);

#endif
