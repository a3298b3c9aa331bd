// The interface `greeter`.

#define _GNU_SOURCE
#include "app.h"
#include "greeting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *greeting(const char *name) {
    char *text = NULL;
    if (*name == 0) {
        return strdup("Hello!");
    }
    return asprintf(&text, "Hello, %s!", name) >= 0 ? text : NULL;
}

void exports_app_lib_greeter_greet(app_string_t *name, app_string_t *ret) {
    char *copy = strndup((char *)name->ptr, name->len);
    char *text = greeting(copy);
    app_string_dup(ret, text ? text : "");
    free(text);
    free(copy);
    app_string_free(name);
}
