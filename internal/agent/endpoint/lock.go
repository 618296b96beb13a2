// SPDX-License-Identifier: Apache-2.0

package endpoint

import "sync"

// keyLock serialises work on the same container while that on others goes on:
// a runtime may send DEL before an ADD of the same container has ended.
type keyLock struct {
	mu   sync.Mutex
	held map[string]*heldLock
}

type heldLock struct {
	sync.Mutex
	waiters int
}

// lock waits until the key is free and returns what frees it.
func (l *keyLock) lock(key string) (unlock func()) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*heldLock{}
	}
	h := l.held[key]
	if h == nil {
		h = &heldLock{}
		l.held[key] = h
	}
	h.waiters++
	l.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		l.mu.Lock()
		if h.waiters--; h.waiters == 0 {
			delete(l.held, key)
		}
		l.mu.Unlock()
	}
}
