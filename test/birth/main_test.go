// SPDX-License-Identifier: Apache-2.0

package birth

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/fairlead-io/fairlead/test/program"
)

// checkout is the repository's root.
var checkout = filepath.Join("..", "..")

// programs is the folder of what operatorProgram built.
var programs string

// operatorProgram builds the operator, once for all tests.
var operatorProgram = sync.OnceValues(func() (string, error) { return program.Build(checkout, "./cmd/fairlead", programs) })

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
	var err error
	if programs, err = os.MkdirTemp("", "fairlead-birth-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(programs) // it is in a folder for such
	os.Exit(code)
}
