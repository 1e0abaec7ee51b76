set(QD_UNIT_LIBS qd_teststore qd_log qd_rls qd_proto qd_shard qd_policy qd_ledger qd_storage qd::grpc qd::openssl qd::sodium)
