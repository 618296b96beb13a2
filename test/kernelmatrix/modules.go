// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules that the datapath and its tests use; there is no modprobe in the
// machine that would load them when they are needed. crc32c serves nf_conntrack's, which
// finds it by its algorithm's name.
var wanted = []string{
	"crc32c_generic",
	"veth", "vxlan", "bridge",
	"sch_ingress", "cls_bpf", "cls_u32",
	"nf_tables", "nf_conntrack", "nf_nat", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_fib_inet",
}

// modules returns the files of modules and of all that they depend on, in the order in
// which they can be loaded.
func (k kernel) modules(ctx context.Context, names []string) ([]file, error) {
	var files []file
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if done[name] {
			return nil
		}
		done[name] = true
		content, err := k.module(ctx, name)
		if err != nil {
			return err
		}
		needs, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
		}
		files = append(files, file{fmt.Sprintf("modules/%03d-%s.ko", len(files), name), content, 0o644})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// module returns the content of a module, whose file may have dashes in its name and may
// be compressed.
func (k kernel) module(ctx context.Context, name string) ([]byte, error) {
	for _, spelled := range slices.Compact([]string{name, strings.ReplaceAll(name, "_", "-")}) {
		plain := filepath.Join(k.dir, spelled+".ko")
		content, err := os.ReadFile(plain)
		if err == nil || !errors.Is(err, os.ErrNotExist) {
			return content, err
		}
		if _, err := os.Stat(plain + ".xz"); err == nil {
			return output(ctx, "", "xz", "-dc", plain+".xz")
		}
	}
	return nil, fmt.Errorf("there is no module %s in %s", name, k.dir)
}

// dependencies reads the names of the modules that a module says it needs.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("has no section .modinfo: it is no kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		if names, ok := bytes.CutPrefix(field, []byte("depends=")); ok && len(names) > 0 {
			return strings.Split(strings.ReplaceAll(string(names), "-", "_"), ","), nil
		}
	}
	return nil, nil
}
