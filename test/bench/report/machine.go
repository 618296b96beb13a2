// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is where figures were measured.
type Machine struct {
	CPUs              int
	Model             string
	Kernel            string
	Go                string
	CongestionControl string // of the measured connections
	DefaultControl    string // of the machine
	Mitigations       string // of the CPU's vulnerabilities, those that there are
	Modules           string // of the kernel, that can slow bridges and routes down
}

// ThisMachine describes the machine that it runs on.
func ThisMachine(congestion string) (Machine, error) {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), CongestionControl: congestion}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("uname: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:])
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, err
	}
	m.Model = "unknown"
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			m.Model = strings.TrimSpace(value)
			break
		}
	}
	control, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		return m, err
	}
	m.DefaultControl = strings.TrimSpace(string(control))
	if m.Mitigations, err = mitigations("/sys/devices/system/cpu/vulnerabilities"); err != nil {
		return m, err
	}
	m.Modules = modules()
	return m, nil
}

// mitigations lists the vulnerabilities that the CPU has, and what the kernel does.
func mitigations(dir string) (string, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return "unknown", nil
	}
	if err != nil {
		return "", err
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			return "", err
		}
		if state := strings.TrimSpace(string(b)); state != "Not affected" {
			out = append(out, f.Name()+": "+strings.TrimPrefix(state, "Mitigation: "))
		}
	}
	if len(out) == 0 {
		return "none needed", nil
	}
	return strings.Join(out, "; "), nil
}

// modules says which of the firewall's parts are in the kernel. What is built in has no
// entry in a list of modules, but leaves settings.
func modules() string {
	var out []string
	for _, p := range []struct{ name, path string }{
		{"br_netfilter", "/proc/sys/net/bridge"},
		{"conntrack", "/proc/sys/net/netfilter/nf_conntrack_max"},
	} {
		state := "no"
		if _, err := os.Stat(p.path); err == nil {
			state = "yes"
		}
		out = append(out, p.name+" "+state)
	}
	return strings.Join(out, ", ")
}
