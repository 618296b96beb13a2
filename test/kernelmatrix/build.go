// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// build compiles what runs in the machines, statically, since there is nothing else there.
func build(ctx context.Context, out string) ([]file, error) {
	dir, err := os.MkdirTemp(out, "build")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	init := filepath.Join(dir, "init")
	if err := compile(ctx, "build", "-o", init, "./test/kernelmatrix/init"); err != nil {
		return nil, err
	}
	files, err := program(nil, "init", init)
	if err != nil {
		return nil, err
	}
	for _, t := range smoke {
		binary := filepath.Join(dir, "test")
		if err := compile(ctx, "test", "-c", "-o", binary, t.pkg); err != nil {
			return nil, err
		}
		name := path.Base(t.pkg) + ".test"
		if files, err = program(files, "tests/"+name, binary); err != nil {
			return nil, err
		}
		pattern := "^(" + strings.Join(t.tests, "|") + ")$"
		files = append(files, file{"run/" + name, []byte(pattern + t.subtests), 0o644})
	}
	return files, nil
}

func program(files []file, name, path string) ([]file, error) {
	content, err := os.ReadFile(path)
	return append(files, file{name, content, 0o755}), err
}

func compile(ctx context.Context, args ...string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args[0], "-trimpath", "-ldflags=-s -w")
	cmd.Args = append(cmd.Args, args[1:]...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, stderr.Bytes())
	}
	return nil
}
