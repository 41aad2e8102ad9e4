;; Prints a line. Build: wat2wasm hello-wasi.wat -o hello.wasm; run: wasi_hello hello.wasm
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory 1)
  (export "memory" (memory 0))
  (data (i32.const 8) "Hello from WASI!\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))   ;; iovec: address
    (i32.store (i32.const 4) (i32.const 17))  ;; iovec: length
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 28)))))
