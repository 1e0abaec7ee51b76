set(QD_UNIT_LIBS qd_proto qd_shard qd_policy)
