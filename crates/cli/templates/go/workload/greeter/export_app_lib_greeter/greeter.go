// The interface `greeter` that the component exports.
package export_app_lib_greeter

import "strings"

// Greet greets somebody by name.
func Greet(name string) string {
	name = strings.TrimSpace(name)
	if name == "" {
		return "Hello!"
	}
	return "Hello, " + name + "!"
}
