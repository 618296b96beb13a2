// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// healthPort is where kube-proxy answers those who ask for its health, on every address of
// its node, unless its configuration says otherwise.
const healthPort = 10256

// listening is a socket's state in the kernel's list, TCP_LISTEN.
const listening = "0A"

// Running says whether kube-proxy runs in a network namespace: whether somebody listens
// on its health port. A process is not looked for, because processes of the node need not
// be visible from where this runs.
func Running(ns *netns.NS) (running bool, err error) {
	err = ns.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			found, err := listens(file, healthPort)
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6
				return fmt.Errorf("look for kube-proxy: %w", err)
			}
			running = running || found
		}
		return nil
	})
	return running, err
}

// listens looks for a listening socket in one of the kernel's lists, which have those
// first.
func listens(file string, port uint16) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(f)
	lines.Scan() // the heading
	for lines.Scan() {
		// sl local_address rem_address st ...
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listening {
			break
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(hex, 16, 16); err == nil && uint16(n) == port {
			return true, nil
		}
	}
	return false, lines.Err()
}
