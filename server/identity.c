#include "server/identity.h"

#define IDENTITY_KEY "node/identity"

static enum qd_store_err keep(struct qd_store *store, const struct qd_identity *identity,
                              struct qd_store_error *error)
{
    struct qd_buf value = {0};
    struct qd_batch batch;

    qd_batch_init(&batch);
    qd_identity_encode(identity, &value);
    qd_batch_put(&batch, QD_STORE_META, qd_slice_of(IDENTITY_KEY), qd_buf_str(&value));
    enum qd_store_err err = value.failed ? qd_store_error_set(error, QD_STORE_NO_MEMORY,
                                                              "no memory for the node's identity")
                                         : qd_store_write(store, &batch, true, error);
    qd_batch_release(&batch);
    qd_buf_release(&value);
    return err;
}

enum qd_store_err qd_identity_settle(struct qd_store *store, struct qd_identity *identity,
                                     struct qd_store_error *error)
{
    struct qd_buf value = {0};
    enum qd_store_err err =
        qd_store_get(store, QD_STORE_META, qd_slice_of(IDENTITY_KEY), &value, error);

    if (err == QD_STORE_NOT_FOUND) {
        err = keep(store, identity, error);
    } else if (err == QD_STORE_OK) {
        err = qd_identity_decode(qd_buf_str(&value), identity);
        if (err != QD_STORE_OK) {
            qd_store_error_set(error, err, "the node's identity: %s", qd_store_err_text(err));
        }
    }
    qd_buf_release(&value);
    return err;
}
