set(QD_UNIT_LIBS qd_reflect)

# Not Criterion programs: the promise of proto/README.md, and that its check notices what breaks it.
foreach(script check-compat compat)
  if(script STREQUAL "compat")
    set(command ${CMAKE_CURRENT_SOURCE_DIR}/proto/compat.sh ${PROJECT_SOURCE_DIR}/proto)
  else()
    set(command ${PROJECT_SOURCE_DIR}/proto/check-compat.sh)
  endif()
  qd_register_test(unit_proto_${script} TIMEOUT 120 LABEL unit
    COMMAND ${CMAKE_COMMAND} -E env QD_PROTO_TOOL=$<TARGET_FILE:qd_proto_tool> sh ${command})
endforeach()
