/* cudnn_library.c - finds libcudnn, and catches what it warns of. */

#include "cuda/cudnn_library.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION_LEAST = 90800 };  // 9.8: device properties without a device, soft cap

sppo__cudnn_library sppo__cudnn;
static char heard[400];

static const struct {
    const char *name;
    size_t place;
} functions[] = {
    {"cudnnGetVersion", offsetof(sppo__cudnn_library, version)},
    {"cudnnGetErrorString", offsetof(sppo__cudnn_library, status_text)},
    {"cudnnGetLastErrorString", offsetof(sppo__cudnn_library, last_error)},
    {"cudnnSetCallback", offsetof(sppo__cudnn_library, set_callback)},
    {"cudnnCreate", offsetof(sppo__cudnn_library, open)},
    {"cudnnSetStream", offsetof(sppo__cudnn_library, set_stream)},
    {"cudnnBackendCreateDescriptor", offsetof(sppo__cudnn_library, create)},
    {"cudnnBackendDestroyDescriptor", offsetof(sppo__cudnn_library, destroy)},
    {"cudnnBackendFinalize", offsetof(sppo__cudnn_library, finalize)},
    {"cudnnBackendSetAttribute", offsetof(sppo__cudnn_library, set)},
    {"cudnnBackendGetAttribute", offsetof(sppo__cudnn_library, get)},
    {"cudnnBackendExecute", offsetof(sppo__cudnn_library, execute)},
};

static const char *find_functions(void *library, char *why, size_t room) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        void *found = dlsym(library, functions[i].name);
        if (!found) {
            snprintf(why, room, "libcudnn has no %s: it is older than 9.8", functions[i].name);
            return why;
        }
        // A function's address, which dlsym gives as an object's.
        memcpy((char *)&sppo__cudnn + functions[i].place, &found, sizeof found);
    }
    size_t version = sppo__cudnn.version();
    if (version >= VERSION_LEAST) return NULL;
    snprintf(why, room, "libcudnn is %zu.%zu, 9.8 or newer is wanted", version / 10000,
             version / 100 % 100);
    return why;
}

static const char *load(char *why, size_t room) {
    const char *file = getenv("SPPO_CUDNN");
    bool named = file && *file;
    if (!named && dlsym(RTLD_DEFAULT, "cudnnBackendExecute"))
        return find_functions(RTLD_DEFAULT, why, room);
    void *library = dlopen(named ? file : "libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (library) return find_functions(library, why, room);
    const char *text = dlerror();
    snprintf(why, room, "%s", text ? text : "libcudnn.so.9 is not there");
    return why;
}

const char *sppo__cudnn_load(void) {
    static bool done;
    static char why[300];
    static const char *result;
    if (!done) result = load(why, sizeof why);
    done = true;
    return result;
}

/* Adds a reason, up to `length` bytes of it, unless it is known. */
static void hear(const char *reason, size_t length) {
    char text[200];
    if (length >= sizeof text) length = sizeof text - 1;
    memcpy(text, reason, length);
    text[length] = 0;
    size_t used = strlen(heard);
    if (strstr(heard, text) || used + length + 3 > sizeof heard) return;
    snprintf(heard + used, sizeof heard - used, "%s%s", used ? "; " : "", text);
}

/* Lines end in NUL, the last one in two. Those that only pass on what another said are left out. */
static void listen(cudnnSeverity_t severity, void *data, const cudnnDebug_t *debug,
                   const char *text) {
    (void)severity, (void)data, (void)debug;
    for (const char *line = text; line && *line; line += strlen(line) + 1) {
        const char *reason = strstr(line, "Reason: ");
        if (!reason) continue;
        reason += strlen("Reason: ");
        if (strstr(reason, "isSupported()") || strstr(reason, "finalize") ||
            strstr(reason, "CUDNN_STATUS_") || strstr(reason, "library mode"))
            continue;
        hear(reason, strcspn(reason, "\n"));
    }
}

void sppo__cudnn_listen(void) {
    heard[0] = 0;
    sppo__cudnn.set_callback(CUDNN_SEV_WARNING_EN, NULL, listen);
}

const char *sppo__cudnn_heard(void) {
    return heard;
}
