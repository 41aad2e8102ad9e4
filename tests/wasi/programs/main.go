// A Go program of the wasip1 port: goroutines, files, time, standard input.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

func main() {
	var wait sync.WaitGroup
	results := make(chan int, 10)
	for i := range 10 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			time.Sleep(time.Millisecond)
			results <- i * i
		}()
	}
	wait.Wait()
	close(results)
	var squares []int
	for square := range results {
		squares = append(squares, square)
	}
	sort.Ints(squares)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if err := os.WriteFile("/scratch/out.txt", []byte(strings.ToUpper(line)), 0o644); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	entries, err := os.ReadDir("/scratch")
	fmt.Println(squares, len(entries), err, os.Args[1:])
	os.Exit(3)
}
