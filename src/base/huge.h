/* Huge pages for a process that is forked often. Copying page tables is most of what a fork costs,
 * 30 us for each MiB of small pages, and each page of code that a child touches first is a fault of
 * 1-2 us; a huge page is one entry, and no fault. All of this is only a matter of speed: where the
 * kernel has no huge pages to give, things stay as they are. */
#ifndef PA_BASE_HUGE_H
#define PA_BASE_HUGE_H

#include <stddef.h>

/* Puts huge pages with the same bytes in the place of code between `low` and `high`, wherever no
 * more than a file's header and unmapped gaps would become executable with it. The code may be
 * running. `proc_fd` is /proc. */
void huge_pages_for_code(int proc_fd, const void *low, const void *high);

/* The same for readable and writable memory, in place; where most of it is zeros, those are given
 * back to the kernel instead, until somebody writes to them. */
void huge_pages_for_data(void *low, size_t bytes);

/* Memory that nobody has touched yet comes in huge pages when somebody does. */
void huge_pages_to_come(void *low, size_t bytes);

#endif
