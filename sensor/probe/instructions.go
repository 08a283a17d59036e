package probe

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/arch/x86/x86asm"
)

// longestFunction that is looked through for its returns; glibc's getaddrinfo has 9 KB.
const longestFunction = 64 << 10

// returnsOf are the offsets in a file of the instructions that return from
// getaddrinfo. An error says that there may be others, or other ends of it: a probe
// must never be put where no instruction begins.
func returnsOf(path string) (offsets []uint64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// The file is whatever is found in a container, for which package elf is not made.
	defer func() {
		if r := recover(); r != nil {
			offsets, err = nil, fmt.Errorf("reading %s: %v", path, r)
		}
	}()
	f, err := elf.NewFile(file)
	if err != nil {
		return nil, err
	}
	if f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("instructions of %v are not read", f.Machine)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	var function *elf.Symbol
	for i := range symbols {
		if s := &symbols[i]; s.Name == lookupFunction && elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Section != elf.SHN_UNDEF {
			if function != nil && function.Value != s.Value {
				return nil, errors.New("there are several functions of the name")
			}
			function = s
		}
	}
	if function == nil || function.Size == 0 || function.Size > longestFunction {
		return nil, errors.New("there is no function of the name, or its size is not that of one")
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_LOAD || p.Flags&elf.PF_X == 0 || function.Value < p.Vaddr || function.Value+function.Size > p.Vaddr+p.Filesz {
			continue
		}
		code := make([]byte, function.Size)
		begins := function.Value - p.Vaddr
		if _, err := p.ReadAt(code, int64(begins)); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		returns, err := returnsIn(code)
		for _, at := range returns {
			offsets = append(offsets, p.Off+begins+uint64(at))
		}
		return offsets, err
	}
	return nil, errors.New("the function is in no part of the file that is executed")
}

// endbr64 marks where an indirect call may arrive.
var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// returnsIn finds the instructions that return from a function of x86-64. It reads
// them one after the other, and makes sure of what it has read: every jump has to
// arrive at the beginning of an instruction in the function, and the last has to end
// with it. A function that may be left otherwise, as by jumping to another, is
// refused.
func returnsIn(code []byte) (returns []int, err error) {
	var arrivals []int
	begins := make([]bool, len(code))
	at := 0
	for at < len(code) {
		begins[at] = true
		if bytes.HasPrefix(code[at:], endbr64) {
			at += len(endbr64)
			continue
		}
		i, err := x86asm.Decode(code[at:], 64)
		if err == nil && i.Op == 0 { // what is cut, or not known, is called a prefix alone
			err = x86asm.ErrUnrecognized
		}
		if err != nil {
			return nil, fmt.Errorf("the instruction at %d: %w", at, err)
		}
		next := at + i.Len
		relative, direct := i.Args[0].(x86asm.Rel)
		switch {
		case i.Op == x86asm.RET:
			returns = append(returns, at)
		case i.Op == x86asm.LRET, i.Op == x86asm.IRET, i.Op == x86asm.IRETD, i.Op == x86asm.IRETQ, i.Op == x86asm.SYSRET, i.Op == x86asm.SYSEXIT,
			i.Op == x86asm.LJMP, i.Op == x86asm.JMP && !direct:
			return nil, fmt.Errorf("%v at %d leads anywhere", i, at)
		case direct && i.Op != x86asm.CALL:
			arrives := next + int(relative)
			if arrives < 0 || arrives >= len(code) {
				return nil, fmt.Errorf("%v at %d leads out of the function", i, at)
			}
			arrivals = append(arrivals, arrives)
		}
		at = next
	}
	for _, arrival := range arrivals {
		if !begins[arrival] {
			return nil, fmt.Errorf("a jump arrives at %d, where no instruction begins", arrival)
		}
	}
	if at != len(code) || len(returns) == 0 {
		return nil, errors.New("it does not end as a function does")
	}
	return returns, nil
}
