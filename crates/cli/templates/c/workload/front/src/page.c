// What the service says, with the greetings of its sibling.

#include "page.h"
#include "app.h"

#include <string.h>

static char *greet(const char *who) {
    app_string_t name, text;
    app_string_set(&name, who);
    app_lib_greeter_greet(&name, &text);
    char *copy = strndup((char *)text.ptr, text.len);
    app_string_free(&text);
    return copy;
}

char *page(const char *path) {
    const char *hello = "/hello/";
    if (strcmp(path, "/") == 0) {
        return greet("world");
    }
    return strncmp(path, hello, strlen(hello)) == 0 ? greet(path + strlen(hello)) : NULL;
}
