set(QD_UNIT_LIBS qd_log)
