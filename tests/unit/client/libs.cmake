set(QD_UNIT_LIBS qd_ctl qd_proto qd::grpc)
