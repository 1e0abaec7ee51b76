set(QD_UNIT_LIBS qd_backup)
