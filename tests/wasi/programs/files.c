/* POSIX file calls through wasi-libc, in the writable directory /scratch. Each check prints on
 * failure. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int failures;
#define CHECK(what) \
    do { \
        if (!(what)) { \
            printf("line %d: %s (errno %d %s)\n", __LINE__, #what, errno, strerror(errno)); \
            failures++; \
        } \
    } while (0)

int main(int argc, char **argv) {
    struct stat a, b;
    char text[32] = {0};
    CHECK(argc == 3 && strcmp(argv[2], "two words") == 0);
    CHECK(strcmp(getenv("GREETING"), "hi") == 0);
    FILE *file = fopen("/scratch/f", "w");
    CHECK(file != NULL && fputs("hello world", file) >= 0 && fclose(file) == 0);
    int fd = open("/scratch/f", O_RDWR);
    CHECK(fd >= 0 && pread(fd, text, 5, 6) == 5 && strcmp(text, "world") == 0);
    CHECK(pwrite(fd, "W", 1, 6) == 1 && lseek(fd, 0, SEEK_END) == 11);
    CHECK(ftruncate(fd, 5) == 0 && fstat(fd, &a) == 0 && a.st_size == 5);
    CHECK(posix_fallocate(fd, 0, 10) == 0 && fsync(fd) == 0 && fdatasync(fd) == 0);
    CHECK(close(fd) == 0 && close(fd) == -1 && errno == EBADF);
    CHECK(link("/scratch/f", "/scratch/g") == 0 && stat("/scratch/g", &b) == 0 && b.st_nlink == 2);
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_ino != 0);
    CHECK(symlink("f", "/scratch/s") == 0 && readlink("/scratch/s", text, sizeof text) == 1);
    CHECK(lstat("/scratch/s", &a) == 0 && S_ISLNK(a.st_mode));
    CHECK(stat("/scratch/s", &a) == 0 && S_ISREG(a.st_mode));
    CHECK(mkdir("/scratch/d", 0755) == 0 && mkdir("/scratch/d", 0755) == -1 && errno == EEXIST);
    CHECK(rename("/scratch/g", "/scratch/d/g") == 0 && access("/scratch/d/g", R_OK) == 0);
    CHECK(rmdir("/scratch/d") == -1 && errno == ENOTEMPTY);
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2, .tv_nsec = 3}};
    CHECK(utimensat(AT_FDCWD, "/scratch/f", times, 0) == 0 && stat("/scratch/f", &a) == 0);
    CHECK(a.st_mtim.tv_sec == 2 && a.st_mtim.tv_nsec == 3);
    int names = 0;
    DIR *dir = opendir("/scratch");
    CHECK(dir != NULL);
    while (dir != NULL && readdir(dir) != NULL)
        names++;
    CHECK(names == 5 && closedir(dir) == 0); /* . .. d f s */
    CHECK(unlink("/scratch/d/g") == 0 && rmdir("/scratch/d") == 0);
    CHECK(open("/scratch/../etc/passwd", O_RDONLY) == -1);
    CHECK(open("/etc/passwd", O_RDONLY) == -1);
    CHECK(open("/scratch/none", O_RDONLY) == -1 && errno == ENOENT);
    CHECK(unlink("/scratch/s") == 0 && unlink("/scratch/f") == 0);
    CHECK(!isatty(0) && !isatty(1));
    struct timespec before, after, nap = {.tv_nsec = 20000000};
    CHECK(clock_gettime(CLOCK_MONOTONIC, &before) == 0 && nanosleep(&nap, NULL) == 0);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &after) == 0);
    long slept = (after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec;
    CHECK(slept >= 20000000);
    unsigned char random[32] = {0}, zero[32] = {0};
    CHECK(getentropy(random, sizeof random) == 0 && memcmp(random, zero, sizeof zero) != 0);
    puts(failures == 0 ? "all well" : "failed");
    return failures == 0 ? 0 : 1;
}
