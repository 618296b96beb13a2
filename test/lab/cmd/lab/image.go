// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fairlead-io/fairlead/test/lab/atomicfile"
	"github.com/fairlead-io/fairlead/test/lab/image"
)

func imageCommand() *cobra.Command {
	var out, base, user string
	var spec image.Spec
	cmd := &cobra.Command{
		Use: "image -o OUT.tar -t NAME:TAG [-entrypoint /PROGRAM] FILE:/PATH...", Short: "Pack files into an OCI image archive",
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			spec.Base, spec.User, spec.Files = base, user, map[string]string{}
			for _, a := range args {
				host, inside, ok := strings.Cut(a, ":")
				if !ok || host == "" || !strings.HasPrefix(inside, "/") {
					return fmt.Errorf("%q: write FILE:/PATH, the file here and its absolute path in the image", a)
				}
				spec.Files[inside] = host
			}
			var archive bytes.Buffer
			if err := image.Write(&archive, spec); err != nil {
				return err
			}
			return atomicfile.Write(out, archive.Bytes(), 0o644)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "image.tar", "the archive to write")
	f.StringSliceVarP(&spec.References, "tag", "t", nil, "name with tag; may be given several times")
	f.StringSliceVar(&spec.Entrypoint, "entrypoint", nil, "program and arguments, comma separated")
	f.StringSliceVar(&spec.Cmd, "cmd", nil, "default further arguments, comma separated")
	f.StringSliceVar(&spec.Env, "env", nil, "KEY=value; may be given several times")
	f.StringVar(&user, "user", "", "user[:group]; root when empty")
	f.StringVar(&base, "base", "", "an uncompressed root file system (tar) to put the files on")
	f.StringToStringVar(&spec.Links, "link", nil, "symbolic links /PATH=TARGET, comma separated")
	_ = cmd.MarkFlagRequired("tag") // The flag exists.
	return cmd
}
