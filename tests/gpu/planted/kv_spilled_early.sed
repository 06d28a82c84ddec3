# Blocks go elsewhere while the pass still fills them.
s/^  done_->wait\(\);/  parts_.kv->end_pass();\n  done_->wait();/
/^  arrays_\.finish\(\);/,/end_pass/s/^  parts_\.kv->end_pass\(\);//
