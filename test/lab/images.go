// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func (l *Lab) imagesDir() string { return filepath.Join(l.Plan.Dir, "images") }

// archives are all that a new node gets, in the order in which they were loaded: of two images of one
// name, the later counts.
func (l *Lab) archives() ([]string, error) {
	kept, err := filepath.Glob(filepath.Join(l.imagesDir(), "*.tar")) // Sorted, and names begin with a time.
	return append(l.Builder.Images(), kept...), err
}

// keepImages keeps archives, and then reads which nodes there are: one that is born meanwhile has either
// read what is kept, or is among them.
func (l *Lab) keepImages(archives []string) error {
	for _, a := range archives {
		digest, err := fileDigest(a)
		if err != nil {
			return err
		}
		if err := l.keepImage(a, digest); err != nil {
			return fmt.Errorf("cannot keep %s: %w", a, err)
		}
	}
	return l.addBirths()
}

// keepImage keeps an archive for machines that are born later.
func (l *Lab) keepImage(archive, digest string) error {
	if err := os.MkdirAll(l.imagesDir(), 0o755); err != nil {
		return err
	}
	kept, err := filepath.Glob(filepath.Join(l.imagesDir(), "*-"+digest+".tar"))
	if err != nil {
		return err
	}
	to := filepath.Join(l.imagesDir(), fmt.Sprintf("%020d-%s.tar", time.Now().UnixNano(), digest))
	if len(kept) > 0 {
		return os.Rename(kept[0], to)
	}
	err = os.Link(archive, to)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, fs.ErrPermission) {
		err = copyFile(archive, to)
	}
	return err
}

// copyFile gives the copy its name when it is complete.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	partial := strings.TrimSuffix(to, ".tar") + ".partial"
	out, err := os.Create(partial)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return os.Rename(partial, to)
}
