;; Copies its standard input to its standard output.
(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory 2)
  (export "memory" (memory 0))
  (func (export "_start")
    (loop $more
      (i32.store (i32.const 0) (i32.const 64))     ;; iovec: address
      (i32.store (i32.const 4) (i32.const 65536))  ;; iovec: length
      (if (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)) (then return))
      (if (i32.eqz (i32.load (i32.const 8))) (then return))  ;; the end of the input
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (if (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)) (then return))
      (br $more))))
