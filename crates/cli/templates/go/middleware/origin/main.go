// A component exports what its world says; there is no program to start.
package main

import _ "app/bindings/wit_exports"

func main() {}
