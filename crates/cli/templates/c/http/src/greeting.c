// What the service says.

#define _GNU_SOURCE
#include "greeting.h"

#include <stdio.h>
#include <string.h>

char *greeting(const char *path) {
    const char *hello = "/hello/";
    char *text = NULL;
    if (strcmp(path, "/") == 0) {
        return strdup("Hello from {{name}}!");
    }
    if (strncmp(path, hello, strlen(hello)) == 0 && asprintf(&text, "Hello, %s!", path + strlen(hello)) >= 0) {
        return text;
    }
    return NULL;
}
