// Command generate writes the dashboards as JSON. Its argument is the folder;
// `make generate` calls it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/netview-project/netview/dashboards"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIRECTORY")
		os.Exit(2)
	}
	files, err := dashboards.JSON()
	for name, text := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(os.Args[1], name), text, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}
