// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// File is a list in a file, which a kubelet replaces. No file is the empty list.
type File struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	read bool
	seen stamp
	list List
	err  error // of the content that was there first
}

// stamp tells one content of the file from another without reading it.
type stamp struct {
	there   bool
	size    int64
	changed time.Time
}

// NewFile makes a File; nothing is read yet.
func NewFile(path string, log *slog.Logger) *File { return &File{path: path, log: log} }

// List is the list of the moment. Content that cannot be used is logged, and the last good
// one stays in force; it is an error only while there was none.
func (f *File) List() (List, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at, err := f.stat()
	if err == nil && f.read && at == f.seen {
		return f.list, f.err
	}
	first := !f.read || f.err != nil
	var fresh List
	if err == nil {
		fresh, err = f.load(at.there)
	}
	if err != nil {
		err = fmt.Errorf("%s cannot be used: %w; it must be key %s of ConfigMap fairlead-trust as the operator writes it", f.path, err, Key)
		if first {
			f.read, f.seen, f.err = true, at, err
			return f.list, err
		}
		f.seen = at
		f.log.Error("the list of revoked CAs has changed and cannot be used; the last good one stays in force", "error", err)
		return f.list, nil
	}
	if !fresh.Equal(f.list) {
		f.log.Info("the list of revoked CAs has changed", "file", f.path, "entries", fresh.Len())
	}
	f.read, f.seen, f.list, f.err = true, at, fresh, nil
	return f.list, nil
}

func (f *File) stat() (stamp, error) {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	return stamp{true, info.Size(), info.ModTime()}, nil
}

func (f *File) load(there bool) (List, error) {
	if !there {
		return List{}, nil
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return List{}, err
	}
	return Parse(text)
}
