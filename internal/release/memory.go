// SPDX-License-Identifier: Apache-2.0

package release

import (
	"strconv"
	"sync"
	"time"
)

// Memory is what was learned of one release and need not be asked for again. It may be lost
// at any time: it costs some requests to learn anew. Its zero value knows nothing. One
// Target uses it at a time.
type Memory struct {
	// version is the resourceVersion of the record that the rest speaks of.
	version    string
	release    Release
	unreadable bool
	// marks are those of the release's objects when they were last found to be right.
	marks map[Ref]string
	// all is when every object was looked at.
	all time.Time
	// corrected is how often objects were put right lately.
	corrected map[Ref]*corrections
	// at is the version of the API server's objects of which the last list was.
	at uint64
}

// learn forgets what was known of other records.
func (m *Memory) learn(version string, r Release) {
	m.version, m.release, m.unreadable = version, r, false
	m.marks, m.all = nil, time.Time{}
}

// rewound takes note of the version of a list, which grows from one list to the next, and says
// that it is lower than the last one's. Nothing is known any more then.
func (m *Memory) rewound(version string) bool {
	now, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return false // of an API server that counts in another way
	}
	if now < m.at {
		*m = Memory{at: now}
		return true
	}
	m.at = now
	return false
}

// Memories keeps one Memory a release. Its zero value is ready; it may be used concurrently.
type Memories struct {
	mu sync.Mutex
	of map[string]*Memory
}

// Of returns the memory of a release, by a name that no other has.
func (m *Memories) Of(name string) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[string]*Memory{}
	}
	if m.of[name] == nil {
		m.of[name] = &Memory{}
	}
	return m.of[name]
}

// Forget drops the memory of a release.
func (m *Memories) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.of, name)
}
