/* compute KIND: fib, sieve, nbody or mandelbrot, as C: for WebAssembly and for this machine. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long fib(long n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static long sieve(void) {
    enum { N = 20000000 };
    char *composite = calloc(N, 1);
    long count = 0;
    for (long i = 2; composite != NULL && i < N; i++) {
        if (composite[i]) continue;
        count++;
        for (long k = i * i; i < 5000 && k < N; k += i)
            composite[k] = 1;
    }
    free(composite);
    return count;
}

static double nbody(void) {
    double x[5] = {0, 4.84, 8.34, 12.9, 15.4}, y[5] = {0, -1.16, 4.12, -15.1, -25.9}, vx[5] = {0},
           vy[5] = {0}, m[5] = {39.5, .037, .011, .0017, .002};
    for (int step = 0; step < 3000000; step++) {
        for (int i = 0; i < 5; i++) {
            for (int k = i + 1; k < 5; k++) {
                double dx = x[i] - x[k], dy = y[i] - y[k], d = dx * dx + dy * dy + .01,
                       mag = .001 / (d * sqrt(d));
                vx[i] -= dx * m[k] * mag, vy[i] -= dy * m[k] * mag, vx[k] += dx * m[i] * mag,
                    vy[k] += dy * m[i] * mag;
            }
        }
        for (int i = 0; i < 5; i++)
            x[i] += .001 * vx[i], y[i] += .001 * vy[i];
    }
    return x[0] + y[1];
}

static long mandelbrot(void) {
    long inside = 0;
    for (int py = 0; py < 700; py++) {
        for (int px = 0; px < 700; px++) {
            double cx = px / 350.0 - 1.5, cy = py / 350.0 - 1, zx = 0, zy = 0;
            int i = 0;
            for (; i < 200 && zx * zx + zy * zy < 4; i++) {
                double t = zx * zx - zy * zy + cx;
                zy = 2 * zx * zy + cy, zx = t;
            }
            inside += i == 200;
        }
    }
    return inside;
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "";
    if (strcmp(kind, "fib") == 0) printf("%ld\n", fib(36));
    if (strcmp(kind, "sieve") == 0) printf("%ld\n", sieve());
    if (strcmp(kind, "nbody") == 0) printf("%.6f\n", nbody());
    if (strcmp(kind, "mandelbrot") == 0) printf("%ld\n", mandelbrot());
    return 0;
}
