def mandelbrot(w, h, limit):
    count = 0
    for py in range(h):
        for px in range(w):
            cr = 3.0 * px / w - 2.0
            ci = 2.0 * py / h - 1.0
            zr = 0.0
            zi = 0.0
            n = 0
            while n < limit and zr * zr + zi * zi <= 4.0:
                t = zr * zr - zi * zi + cr
                zi = 2.0 * zr * zi + ci
                zr = t
                n += 1
            count += n
    return count
print(mandelbrot(300, 200, 100))
