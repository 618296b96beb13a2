// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is a distribution's kernel, unpacked.
type kernel struct {
	name  string // of its package
	image string // the file that is booted
	dir   string // of its modules
}

// fetch returns the newest kernel of a series that apt offers. It is downloaded and
// unpacked once.
func fetch(ctx context.Context, series, cache string) (kernel, error) {
	name, err := newest(ctx, series)
	if err != nil {
		return kernel{}, err
	}
	dir := filepath.Join(cache, name)
	k := kernel{name: name, image: filepath.Join(dir, "vmlinuz"), dir: dir}
	if _, err := os.Stat(dir); err == nil {
		return k, nil
	}
	unfinished := dir + ".part"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755)); err != nil {
		return kernel{}, err
	}
	if err := download(ctx, name, unfinished); err != nil {
		return kernel{}, err
	}
	return k, os.Rename(unfinished, dir)
}

// newest asks apt for the packages of a series: plain ones, neither for clouds nor for
// real time, neither unsigned nor with debug symbols.
func newest(ctx context.Context, series string) (string, error) {
	out, err := output(ctx, "", "apt-cache", "pkgnames", "linux-image-"+series+".")
	if err != nil {
		return "", err
	}
	plain := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(series) + `\.[0-9][0-9.+a-z-]*-amd64$`)
	var names []string
	for _, name := range strings.Fields(string(out)) {
		if plain.MatchString(name) && !strings.Contains(name, "-cloud-") && !strings.Contains(name, "-rt-") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "", fmt.Errorf("apt offers no package linux-image-%s.*-amd64: run apt-get update, or add Debian 12's main, security and backports archives to apt's sources", series)
	}
	return slices.MaxFunc(names, compareNames), nil
}

var number = regexp.MustCompile(`[0-9]+`)

// compareNames orders names by the numbers in them.
func compareNames(a, b string) int {
	numbers := func(s string) (n []int) {
		for _, digits := range number.FindAllString(s, -1) {
			one, _ := strconv.Atoi(digits) // at worst 0, and the largest int
			n = append(n, one)
		}
		return n
	}
	return slices.Compare(numbers(a), numbers(b))
}

// download leaves a package's kernel and modules, flat, in a directory.
func download(ctx context.Context, name, dir string) error {
	fmt.Printf("downloading %s\n", name)
	if _, err := output(ctx, dir, "apt-get", "download", "-q", name); err != nil {
		// The archive may have moved on since apt looked at it.
		_, updated := output(ctx, "", "apt-get", "update", "-q")
		if _, err = output(ctx, dir, "apt-get", "download", "-q", name); err != nil {
			return errors.Join(err, updated)
		}
	}
	packages, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("%s: apt-get download left %d packages in %s, want one (%v)", name, len(packages), dir, err)
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", packages[0])
	content, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unpack(content, dir)
	if wait := cmd.Wait(); err != nil || wait != nil {
		return fmt.Errorf("%s: unpack: %w", name, errors.Join(err, wait))
	}
	return os.Remove(packages[0])
}

// unpack takes the kernel and those modules that a network may need out of an archive.
func unpack(archive io.Reader, dir string) error {
	for files := tar.NewReader(archive); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Base(h.Name)
		switch {
		case h.Typeflag != tar.TypeReg:
			continue
		case strings.HasPrefix(name, "vmlinuz-"):
			name = "vmlinuz"
		case !isModule(h.Name):
			continue
		}
		content, err := io.ReadAll(files)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
}

func isModule(path string) bool {
	if !strings.HasSuffix(path, ".ko") && !strings.HasSuffix(path, ".ko.xz") {
		return false
	}
	for _, part := range []string{"/kernel/net/", "/kernel/drivers/net/", "/kernel/crypto/", "/kernel/lib/"} {
		if strings.Contains(path, part) {
			return true
		}
	}
	return false
}

// output runs a command in a directory; an error has what it said.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}
