// SPDX-License-Identifier: Apache-2.0

// Package table brings rows of the kernel (map entries, routes) to what is desired.
//
// Deciding and doing are apart: Set and Unset only note what is wanted, Sync makes the
// kernel follow. Rows that nobody mentioned, left by an earlier run, stay until Prune.
// A row that the kernel refused is tried again at the next Sync.
//
// It must not know what a row means.
package table

import (
	"errors"
	"fmt"
)

// Backend is a table of the kernel.
type Backend[K comparable, V comparable] interface {
	// List returns all rows that are ours.
	List() (map[K]V, error)
	// Put adds a row or replaces the one with that key.
	Put(K, V) error
	// Delete removes a row; that there is none is no error.
	Delete(K, V) error
}

// Table is a set of desired rows and what is known of the kernel's. It is not safe for
// concurrent use.
type Table[K comparable, V comparable] struct {
	name     string
	backend  Backend[K, V]
	desired  map[K]V
	realised map[K]V
	pending  map[K]struct{}
	changes  int
}

// New returns a table without desired rows. Name is for errors. Call Resync before the
// first Sync when an earlier run may have left rows.
func New[K comparable, V comparable](name string, backend Backend[K, V]) *Table[K, V] {
	return &Table[K, V]{
		name:     name,
		backend:  backend,
		desired:  map[K]V{},
		realised: map[K]V{},
		pending:  map[K]struct{}{},
	}
}

// SetDesired notes that a row should be there.
func (t *Table[K, V]) SetDesired(key K, value V) {
	t.desired[key] = value
	t.pending[key] = struct{}{}
}

// Unset notes that no row of that key should be there.
func (t *Table[K, V]) Unset(key K) {
	delete(t.desired, key)
	t.pending[key] = struct{}{}
}

// Get returns the desired row of a key, or the kernel's when none is desired.
func (t *Table[K, V]) Get(key K) (V, bool) {
	if v, ok := t.desired[key]; ok {
		return v, true
	}
	v, ok := t.realised[key]
	return v, ok
}

// Changes counts the rows that were replaced or deleted since the table was made, other
// than rows that were added: when it has grown, what was decided by a row may be wrong now.
func (t *Table[K, V]) Changes() int { return t.changes }

// Rows is how many rows the kernel is known to have.
func (t *Table[K, V]) Rows() int { return len(t.realised) }

// Realised returns the row of a key that the kernel is known to have.
func (t *Table[K, V]) Realised(key K) (V, bool) {
	v, ok := t.realised[key]
	return v, ok
}

// Resync reads the kernel's rows anew; every desired row that differs is written by the
// next Sync.
func (t *Table[K, V]) Resync() error {
	rows, err := t.backend.List()
	if err != nil {
		return fmt.Errorf("%s: list: %w", t.name, err)
	}
	t.realised = rows
	for key, want := range t.desired {
		if have, ok := rows[key]; !ok || have != want {
			t.pending[key] = struct{}{}
		}
	}
	return nil
}

// Sync writes what was noted since the last one, and what failed then. It goes on after
// an error and returns all of them.
func (t *Table[K, V]) Sync() error {
	var errs []error
	for key := range t.pending {
		if err := t.syncRow(key); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(t.pending, key)
	}
	return errors.Join(errs...)
}

func (t *Table[K, V]) syncRow(key K) error {
	want, wanted := t.desired[key]
	have, exists := t.realised[key]
	if !wanted {
		if !exists {
			return nil
		}
		return t.remove(key, have)
	}
	if exists && have == want {
		return nil
	}
	if err := t.backend.Put(key, want); err != nil {
		return fmt.Errorf("%s: write %v: %w", t.name, key, err)
	}
	if exists {
		t.changes++
	}
	t.realised[key] = want
	return nil
}

func (t *Table[K, V]) remove(key K, have V) error {
	if err := t.backend.Delete(key, have); err != nil {
		return fmt.Errorf("%s: delete %v: %w", t.name, key, err)
	}
	t.changes++
	delete(t.realised, key)
	return nil
}

// Prune deletes the kernel's rows that are not desired and that match; a nil match means
// all.
func (t *Table[K, V]) Prune(match func(K, V) bool) error {
	var errs []error
	for key, have := range t.realised {
		if _, wanted := t.desired[key]; wanted || (match != nil && !match(key, have)) {
			continue
		}
		if err := t.remove(key, have); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Keep unsets every desired row that does not match.
func (t *Table[K, V]) Keep(match func(K, V) bool) {
	for key, v := range t.desired {
		if !match(key, v) {
			t.Unset(key)
		}
	}
}
