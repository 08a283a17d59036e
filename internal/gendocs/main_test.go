package main

import (
	"os"
	"testing"
)

func TestDataModelIsCurrent(t *testing.T) {
	want, err := dataModel()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/data-model.md")
	if err != nil || string(got) != want {
		t.Errorf("docs/data-model.md does not follow from the code (%v): run `make generate`", err)
	}
}
