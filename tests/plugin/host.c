/* SPDX-License-Identifier: MIT
 * Opens a plug-in, lets it work, closes it, and waits for what its threads do then. Again, since it must
 * also be possible to open it a second time. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int use(const char *path) {
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = plugin == NULL ? NULL : dlsym(plugin, "work");
    int (*work)(void);
    if (symbol == NULL) return puts(dlerror()), 1;
    memcpy(&work, &symbol, sizeof work);
    const int status = work();
    dlclose(plugin);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 2 || use(argv[1]) != 0 || use(argv[1]) != 0) return 1;
    return puts("HOLDS"), 0;
}
