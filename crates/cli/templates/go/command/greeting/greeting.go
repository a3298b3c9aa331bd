// Package greeting has what the program says.
package greeting

// For gives the line for the program's arguments, without its name.
func For(args []string) string {
	if len(args) == 0 {
		return "Hello, world!"
	}
	return "Hello, " + args[0] + "!"
}
