/* quotactl token new. */
#include "client/ctl/commands.h"
#include "client/ctl/rpc.h"

#include <sodium.h>
#include <string.h>

#define TOKEN_BYTES 32 /* of randomness: nobody guesses it, so a plain hash of it is enough */

/* The token goes to stdout alone, so that `> FILE` is a token file; what belongs into the node's
 * file goes to stderr. */
static int run_new(struct ctl *ctl, const struct ctl_args *args)
{
    unsigned char random[TOKEN_BYTES];
    unsigned char hash[crypto_hash_sha256_BYTES];
    char token[sodium_base64_ENCODED_LEN(TOKEN_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    char hex[2 * sizeof hash + 1];
    const char *name = args->operand_count > 0 ? args->operands[0] : "NAME";

    if (sodium_init() < 0) {
        return ctl_fail(ctl, "the system has no source of randomness");
    }
    randombytes_buf(random, sizeof random);
    (void)sodium_bin2base64(token, sizeof token, random, sizeof random,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    (void)crypto_hash_sha256(hash, (const unsigned char *)token, strlen(token));
    (void)sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    if (ctl->json) {
        struct json_object *object = json_object_new_object();
        json_object_object_add(object, "token", json_object_new_string(token));
        json_object_object_add(object, "token_sha256", json_object_new_string(hex));
        (void)ctl_json_print(ctl, object);
    } else {
        (void)fprintf(ctl->out, "%s\n", token);
        (void)fprintf(ctl->err,
                      "for the node's --credentials file, with a role (gateway, pool, billing, "
                      "admin, peer):\n- {name: %s, role: ROLE, token_sha256: %s}\n",
                      name, hex);
    }
    sodium_memzero(token, sizeof token);
    sodium_memzero(random, sizeof random);
    return CTL_OK;
}

const struct ctl_command ctl_token_commands[] = {
    {"token new", "[NAME]", "make a bearer token, and the line that makes it known; needs no node",
     "The token goes to stdout, the line for the node's --credentials file to stderr: the node "
     "knows\n"
     "its SHA-256 only. Keep the token where nobody else can read it.\n",
     "  (umask 077; quotactl token new edge > edge.token)\n"
     "  quotactl status --tls-ca ca.pem --token-file edge.token\n",
     NULL, 0, 1, run_new},
    {.name = NULL},
};
