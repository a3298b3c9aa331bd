#pragma once

/// The line for a name, for the caller to free.
char *greeting(const char *who);
