/* sha256.c - SHA-256 of buffers and files, by OpenSSL's EVP (which uses the processor's own). */

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "io/file.h"

static void to_hex(const unsigned char *digest, char *hex) {
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

sppo_status sppo_sha256(const void *data, int64_t bytes, char *hex) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (bytes < 0 || !EVP_Digest(data, (size_t)bytes, digest, NULL, EVP_sha256(), NULL))
        return sppo__fail(SPPO_ERR_ARGUMENT, TEXT_SHA256, (long long)bytes);
    to_hex(digest, hex);
    return SPPO_OK;
}

/* Reads by stdio in 64 KiB steps: a file may be larger than memory, and may shrink meanwhile. */
sppo_status sppo_sha256_file(const char *path, char *hex) {
    int64_t size;
    sppo_status st = sppo_file_size(path, &size);
    if (st) return st;
    FILE *f = fopen(path, "rbe");
    if (!f) return sppo__fail_os(path, "open");
    unsigned char digest[EVP_MAX_MD_SIZE], buffer[65536];
    size_t n;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int good = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL);
    while (good && (n = fread(buffer, 1, sizeof buffer, f)) > 0)
        good = EVP_DigestUpdate(c, buffer, n);
    if (good) good = EVP_DigestFinal_ex(c, digest, NULL);
    if (ferror(f)) st = sppo__fail_os(path, "read");
    else if (!good) st = sppo__fail_memory(path, (int64_t)sizeof buffer);
    else to_hex(digest, hex);
    EVP_MD_CTX_free(c);
    fclose(f);
    return st;
}
