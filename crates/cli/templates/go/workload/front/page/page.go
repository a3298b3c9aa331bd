// Package page has what the service says.
package page

import (
	"strings"

	greeter "app/bindings/app_lib_greeter"
)

// For gives the text for a path, if there is one.
func For(path string) (string, bool) {
	if path == "/" {
		return greeter.Greet("world"), true
	}
	if who, found := strings.CutPrefix(path, "/hello/"); found {
		return greeter.Greet(who), true
	}
	return "", false
}
