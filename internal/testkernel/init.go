package testkernel

import _ "embed"

//go:embed init.sh
var initScript []byte
