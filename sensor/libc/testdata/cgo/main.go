// Command cgo asks the resolver of its libc for names, all at a time.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
)

func main() {
	resolver := &net.Resolver{} // the build chooses that of the libc
	var all sync.WaitGroup
	for _, name := range os.Args[1:] {
		all.Go(func() {
			for range 20 {
				if _, err := resolver.LookupIPAddr(context.Background(), name); err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
			}
		})
	}
	all.Wait()
}
