package testkernel

import _ "embed"

// initScript is the first process, runScript the one that runs the programs.
var (
	//go:embed init.sh
	initScript []byte
	//go:embed run.sh
	runScript []byte
)
