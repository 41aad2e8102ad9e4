/* The front's filter of system calls. */
#ifndef PA_NET_FILTER_H
#define PA_NET_FILTER_H

/* For this process, for ever. Needs no_new_privs, and one thread. 0 or a negative errno. */
int filter_install(void);

#endif
