# Blocks count as written elsewhere before they have been copied.
s/^  copied_->wait\(\);//
