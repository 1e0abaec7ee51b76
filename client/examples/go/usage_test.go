package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

const guessedInput = 7

// testdata is beside this folder, or where $TESTDATA says.
func testdata(t *testing.T, name string) []byte {
	folder := os.Getenv("TESTDATA")
	if folder == "" {
		folder = "../testdata"
	}
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type wanted struct {
	File   string           `json:"file"`
	Lines  int              `json:"lines"`
	Used   map[string]int64 `json:"used"`
	Parts  []wantedPart     `json:"parts"`
	Hour   int64            `json:"written_1h"`
	Tier   int32            `json:"tier"`
	Done   bool             `json:"done"`
	Failed bool             `json:"failed"`
}

type wantedPart struct {
	TTL   int32            `json:"cache_write_ttl"`
	Usage map[string]int64 `json:"usage"`
}

func read(t *testing.T, c wanted) *answer {
	body := testdata(t, c.File)
	a := &answer{}
	if filepath.Ext(c.File) != ".sse" {
		a.takeJSON(body)
		return a
	}
	for i, line := range bytes.SplitAfter(body, []byte("\n")) {
		if c.Lines == 0 || i < c.Lines {
			a.takeLine(line)
		}
	}
	return a
}

// The table of usage.go against testdata/cases.json: what each body says in quotad's meters.
func TestUsage(t *testing.T) {
	var cases []wanted
	if err := json.Unmarshal(testdata(t, "cases.json"), &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		name := c.File
		if c.Lines != 0 {
			name += fmt.Sprintf("_cut_after_%d_lines", c.Lines)
		}
		t.Run(name, func(t *testing.T) {
			a := read(t, c)
			used := a.used(guessedInput)
			found := c
			found.Used, found.Hour, found.Tier, found.Done, found.Failed = used.meters, used.written1h, a.tier, a.done, a.failed
			if c.Parts != nil {
				found.Parts = nil
				for _, p := range used.parts() {
					found.Parts = append(found.Parts, wantedPart{p.ttl, p.meters})
				}
			}
			if !reflect.DeepEqual(found, c) {
				t.Errorf("found:  %+v\nwanted: %+v", found, c)
			}
		})
	}
}
