// SPDX-License-Identifier: Apache-2.0

// Package version holds the version of the running binary. It owns nothing else.
package version

// Version is the semantic version of this build, with a leading v. It is set at
// link time (-ldflags "-X github.com/fairlead-io/fairlead/internal/version.Version=v1.2.3").
var Version = "v0.1.0"
