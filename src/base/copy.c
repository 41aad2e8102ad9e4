#include "base/copy.h"

#include "base/buffer.h"

#include <errno.h>
#include <unistd.h>

enum { COPY_BYTES = 16 << 20, PIECE_BYTES = 64 << 10 };

int fd_copy_all(int from, int to) {
    uint8_t piece[PIECE_BYTES];
    for (;;) {
        ssize_t put = copy_file_range(from, NULL, to, NULL, COPY_BYTES, 0);
        if (put == 0) break; /* the end; or a file that it knows nothing of, as in /proc */
        if (put > 0 || errno == EINTR) continue;
        if (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) break;
        return -errno;
    }
    for (;;) {
        ssize_t got = read(from, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got < 0 ? -errno : 0;
        int result = fd_write_all(to, piece, (size_t)got);
        if (result != 0) return result;
    }
}
