bodies = [(0.0, 0.0, 0.0, 0.0, 39.5), (4.84, -1.16, 0.6, 2.8, 0.037), (8.34, 4.12, -1.01, 1.82, 0.011), (12.9, -15.1, 1.08, 0.87, 0.0017)]
state = [list(b) for b in bodies]
for _ in range(30000):
    for i in range(4):
        a = state[i]
        for k in range(i + 1, 4):
            b = state[k]
            dx, dy = a[0] - b[0], a[1] - b[1]
            mag = 0.001 / ((dx * dx + dy * dy + 0.01) ** 1.5)
            a[2] -= dx * b[4] * mag; a[3] -= dy * b[4] * mag
            b[2] += dx * a[4] * mag; b[3] += dy * a[4] * mag
    for a in state:
        a[0] += 0.001 * a[2]; a[1] += 0.001 * a[3]
print(round(sum(a[0] for a in state), 6))
